"""Three items to learn the screen on. What is said of them is compared and forgotten: nothing of it is kept or counted."""
