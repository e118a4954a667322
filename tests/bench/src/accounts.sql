-- The big table of pgbench: rows of some 100 bytes in a dump, nearly all of them blanks.
CREATE TABLE pgbench_accounts AS
SELECT i AS aid, 1 + (i - 1) / 100000 AS bid, (i::bigint * 7919 % 10000)::int - 5000 AS abalance, ''::char(84) AS filler
FROM generate_series(1, :rows) i;
ALTER TABLE pgbench_accounts ADD PRIMARY KEY (aid);
