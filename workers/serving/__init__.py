"""Model servers of our own: vLLM started, watched, started again and taken in turns (`manage.py serve_models`)."""
