"""From rows to answers, checked, logged and counted."""
