"""Fakes of vendors as programs, for our tests and our users'."""
