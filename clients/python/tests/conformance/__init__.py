"""Runner of the conformance cases of all client libraries (`clients/conformance`)."""
