"""Windows through the chain: spans, frames, states, memory."""
