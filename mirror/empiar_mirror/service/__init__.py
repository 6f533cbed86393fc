"""The loops of the service, a noun each; `empiar_mirror.daemon` puts them together."""
