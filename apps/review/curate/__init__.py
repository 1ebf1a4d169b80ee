"""The curator's pages: plan a queue, see where each stands, hand items back, pause and close."""
