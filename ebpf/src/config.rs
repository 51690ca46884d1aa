//! What the agent tells the kernel programs at load time.
