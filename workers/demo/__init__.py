"""What `manage.py demo` is made of: its child processes, the sample, the logins."""
