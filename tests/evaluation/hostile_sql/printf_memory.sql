SELECT printf('%999999999d', 1)
