"""What our client and our server share of the wire."""
