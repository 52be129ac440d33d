"""The next span of examples, from what was predicted and what turned out to be true."""
