UPDATE sqlite_master SET sql = 'CREATE TABLE numbers (n, square)' WHERE name = 'numbers'
