"""The figures of the world: how well outputs follow their inputs, and how well they fit together."""
