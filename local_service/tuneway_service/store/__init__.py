"""The service's database: functions that take a connection, and `Database`, which runs them."""
