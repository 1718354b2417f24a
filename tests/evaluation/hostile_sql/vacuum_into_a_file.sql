VACUUM INTO '/tmp/crlhf-sql-hostile.db'
