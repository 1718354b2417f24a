/* SELECT n * n FROM numbers */ ; ; ; -- SELECT n * n FROM numbers
