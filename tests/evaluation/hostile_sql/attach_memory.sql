ATTACH DATABASE ':memory:' AS other; CREATE TABLE other.t (x); SELECT 9
