SELECT writefile('/tmp/crlhf-sql-hostile.db', 'x')
