"""A world model over HTTP and websocket on this machine: the page of `egowm walk`, and rollouts."""
