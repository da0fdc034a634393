"""What notebooks add: display and the nested-loop opt-in."""
