"""The rstmdb server: RCP over TCP, sessions, live subscriptions, configuration."""
