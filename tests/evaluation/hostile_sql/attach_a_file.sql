ATTACH DATABASE '/tmp/crlhf-sql-hostile.db' AS stolen;
SELECT 9;
