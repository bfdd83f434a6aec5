-- Tables, indices, joins and text in a database in memory. Prints what it found, the same on every allocator.
CREATE TABLE items(id INTEGER PRIMARY KEY, name TEXT, shelf INTEGER, price REAL, note TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000)
INSERT INTO items SELECT i, 'item ' || (i * 7919 % 120000), i * 31 % 997, (i * 17 % 10000) / 100.0,
  substr('a note that is longer for some than it is for others, as notes are', 1, i * 13 % 64) FROM n;
CREATE INDEX by_name ON items(name);
CREATE INDEX by_shelf ON items(shelf, price);
CREATE TABLE shelves AS SELECT shelf, count(*) AS many, sum(price) AS worth, group_concat(substr(name, 6)) AS names
  FROM items GROUP BY shelf;
SELECT count(*), sum(length(names)), round(sum(worth), 2) FROM shelves;
UPDATE items SET note = note || ' and more of it, for good measure', name = upper(name) WHERE id % 3 = 0;
DELETE FROM items WHERE id % 5 = 0;
SELECT count(*), sum(length(note)) FROM items;
SELECT count(*), sum(length(a.note || b.note)) FROM items a JOIN items b ON b.name = 'item ' || a.id;
SELECT count(DISTINCT note), max(length(name || note)) FROM items;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
SELECT sum(length(replace(printf('%s-%08d-%s', i, i * 31, hex(i)), '-', '---'))) FROM n;
DROP TABLE items;
VACUUM;
SELECT count(*) FROM shelves;
