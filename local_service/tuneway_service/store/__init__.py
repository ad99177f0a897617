"""What the service remembers: functions of a connection, run by `Database`."""
