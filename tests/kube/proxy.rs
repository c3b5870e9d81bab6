//! A proxy of the tests' own between the program and the API server.
