SELECT name FROM pragma_database_list
