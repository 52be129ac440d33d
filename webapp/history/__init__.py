"""What was predicted: searched, exported, counted."""
