"""Whether a host does what wire protocol V1 says: the test kit of `codemode_protocol.testing`, on a host process."""
