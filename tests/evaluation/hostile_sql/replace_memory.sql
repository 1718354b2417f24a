SELECT replace(replace(hex(zeroblob(400000)), '0', '0123456789'), '1', hex(zeroblob(400000)))
