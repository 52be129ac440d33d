"""Tables in files, read the same way by `init`, ExampleGen, `serving predict` and the web app."""
