"""`jepa plugins new`: a package of your own, written from the template that continuous integration builds and tests."""
