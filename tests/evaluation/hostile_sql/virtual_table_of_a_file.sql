CREATE VIRTUAL TABLE v USING csv(filename = '/etc/passwd'); SELECT * FROM v
