"""The prediction log and the labels given to it: what the web app writes and monitoring reads."""
