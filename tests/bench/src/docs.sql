-- Rows of words, jsonb, uuid and base64 text: some 800 bytes each in a dump, which zstd -1 halves.
SELECT setseed(0.5);
CREATE TABLE docs AS
WITH lexicon AS MATERIALIZED (
    -- Of type name, which has a fixed length: an element of the array is found without walking through it.
    SELECT array_agg((a || b || c)::name ORDER BY a, b, c) AS words
    FROM unnest('{ba,de,fe,go,hu,ka,le,mi,no,pu,ra,se}'::text[]) a,
         unnest('{l,nd,rt,st,m,nk,rk,v}'::text[]) b,
         unnest('{a,e,en,er,ing,ung,o,us,el,ion,ate,y}'::text[]) c
)
SELECT i AS id,
       -- With n in it, the aggregate is one of the subquery; with words in it, the subquery is done for each row.
       (SELECT string_agg(words[1 + n * 0 + floor(1152 * random() ^ 2)::int]::text, ' ') FROM generate_series(1, 70) n) AS body,
       jsonb_build_object('id', i, 'price', round((random() * 10000)::numeric, 2), 'active', random() < 0.5,
           'tags', jsonb_build_array(words[1 + floor(1152 * random())::int], words[1 + floor(1152 * random())::int]),
           'created', timestamptz '2025-11-07 02:00:00+00' + i * interval '7 seconds') AS attributes,
       md5(i::text)::uuid AS uuid,
       translate(encode(sha512(i::text::bytea) || sha512((-i)::text::bytea), 'base64'), E'\n', '') AS signature
FROM lexicon, generate_series(1, :rows) i;
