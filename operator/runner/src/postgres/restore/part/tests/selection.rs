//! What comes along, and what is left out.

use super::*;

#[test]
fn a_table_brings_what_belongs_to_it_and_what_it_needs() {
    let (part, contents) = made(&[], &[("app", "t")]);
    assert_eq!(
        restored(&part, &THINGS),
        [
            "CONSTRAINT app t t_pkey",
            "DEFAULT app t id",
            "DOMAIN other positive",
            "EXTENSION  citext",
            "EXTENSION  hstore",
            "FUNCTION other one()",
            "FUNCTION other touch()",
            "INDEX app t_mood",
            "POLICY app t own",
            "ROW SECURITY app t",
            "SCHEMA  app",
            "SCHEMA  ext",
            "SCHEMA  other",
            "SEQUENCE SET app t_id_seq",
            "SEQUENCE SET app t_number_seq",
            "SEQUENCE SET other base_id_seq",
            "SEQUENCE SET other shared",
            "SEQUENCE OWNED BY app t_id_seq",
            "SEQUENCE app t_id_seq",
            "SEQUENCE app t_number_seq",
            "SEQUENCE other base_id_seq",
            "SEQUENCE other shared",
            "STATISTICS app t_stat",
            "TABLE DATA app t",
            "TABLE app t",
            "TRIGGER app t touched",
            "TYPE other mood",
        ]
        .map(str::to_owned)
        .into_iter()
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect::<Vec<_>>()
    );
    assert_eq!(
        restored(&part, &["ACL", "COMMENT"]),
        [
            "ACL  SCHEMA app",
            "ACL  SCHEMA other",
            "ACL app COLUMN t.text",
            "ACL app TABLE t",
            "COMMENT  EXTENSION citext",
            "COMMENT  EXTENSION hstore",
            "COMMENT app COLUMN t.id",
            "COMMENT app INDEX t_mood",
            "COMMENT app TABLE t",
        ]
    );
    assert_eq!(
        part.left_out,
        [
            "SEQUENCE OWNED BY other base_id_seq: it needs TABLE other base",
            "RULE app t deletes: it needs TABLE other base",
            "FK CONSTRAINT app t t_base_fkey: it needs TABLE other base",
            "POLICY app t through_base: it needs TABLE other base",
            "PUBLICATION TABLE app one_table t: it belongs to the database as a whole",
            "1 large objects: they are in no schema, and columns with their numbers refer to nothing",
        ]
    );
    let tables: Vec<&str> = contents.tables.iter().map(|table| table.name.as_str()).collect();
    let sequences: BTreeSet<&str> =
        contents.sequences.iter().map(|sequence| sequence.name.as_str()).collect();
    let extensions: Vec<&str> = contents.extensions.iter().map(|extension| extension.name.as_str()).collect();
    assert_eq!(tables, ["t"]);
    assert_eq!(sequences, BTreeSet::from(["t_id_seq", "t_number_seq", "base_id_seq", "shared"]));
    assert_eq!(extensions, ["citext", "hstore"]);
    assert_eq!((contents.large_objects.count, part.objects), (0, BTreeSet::from(["1".to_owned()])));
    assert_eq!(row_bytes(&contents), u64::from(contents.tables[0].oid));
}

#[test]
fn a_schema_brings_all_that_is_in_it_and_says_what_cannot_be_restored() {
    let (part, contents) = made(&["app"], &[]);
    assert_eq!(
        restored(
            &part,
            &["TABLE DATA", "VIEW", "MATERIALIZED VIEW", "FOREIGN TABLE", "SERVER", "FK CONSTRAINT"]
        ),
        [
            "FK CONSTRAINT app refers refers_at_fkey",
            "FK CONSTRAINT app refers refers_t_fkey",
            "FOREIGN TABLE app of_file",
            "MATERIALIZED VIEW DATA app counted",
            "MATERIALIZED VIEW app counted",
            "SERVER  files",
            "TABLE DATA app grouped",
            "TABLE DATA app parts_1",
            "TABLE DATA app refers",
            "TABLE DATA app t",
            "TABLE DATA app unchecked",
            // The rows of a partitioned table are those of its partitions, wherever they are.
            "TABLE DATA other parts_2_a",
            "VIEW app by_key",
            "VIEW app on_t",
        ]
    );
    assert_eq!(restored(&part, &["RULE"]), ["RULE app by_key _RETURN"]);
    assert_eq!(restored(&part, &["DEFAULT ACL"]).len(), 1);
    let told: BTreeSet<&str> =
        part.left_out.iter().map(|told| told.split_once(": ").unwrap_or((told, "")).0).collect();
    assert_eq!(
        told,
        BTreeSet::from([
            "FK CONSTRAINT app t t_base_fkey",
            "FK CONSTRAINT app unchecked far",
            "FUNCTION app of_circle(app.circle)",
            "FUNCTION app reads_base()",
            "FUNCTION app rows_of_base()",
            "MATERIALIZED VIEW app counted_base",
            "POLICY app t through_base",
            "PUBLICATION TABLE app one_table t",
            "PUBLICATION TABLES IN SCHEMA app one_schema app",
            "RULE app t deletes",
            "SEQUENCE OWNED BY other base_id_seq",
            "VIEW app circle",
            "VIEW app on_base",
            "VIEW app on_view",
            "1 large objects",
        ])
    );
    let schemas: BTreeSet<&str> = contents.tables.iter().map(|table| table.schema.as_str()).collect();
    assert_eq!(schemas, BTreeSet::from(["app", "other"]));
    assert!(contents.tables.iter().all(|table| table.name != "base" && table.name != "counted_base"));
}

/// Together with what it needed nothing of it is left out, but for what is in no schema.
#[test]
fn what_was_left_out_comes_with_what_it_needs() {
    let (part, _) = made(&["app"], &[("other", "base")]);
    assert_eq!(part.left_out.len(), 3, "{:?}", part.left_out);
    assert!(restored(&part, &["VIEW"]).contains(&"VIEW app circle".to_owned()));
    assert!(restored(&part, &["RULE"]).contains(&"RULE app circle _RETURN".to_owned()));
    let (whole, _) = made(&["app", "other", "ext", "tied", "public", "a", "a.b", "A.b \"C\""], &[]);
    let toc = toc();
    let apart = |entry: &&Entry| {
        matches!(&*entry.desc, "ENCODING" | "STDSTRINGS" | "SEARCHPATH" | "DATABASE" | "BLOB" | "BLOBS")
            || entry.desc.starts_with("PUBLICATION")
    };
    let rest: Vec<String> = toc
        .entries
        .iter()
        .filter(|entry| !apart(entry) && !whole.entries.contains(&entry.dump_id))
        .map(told::subject)
        .collect();
    assert_eq!(rest, [""; 0]);
}

#[test]
fn a_partition_alone_becomes_a_table() {
    let (part, contents) = made(&[], &[("other", "parts_2")]);
    assert_eq!(
        restored(&part, &["TABLE", "INDEX", "CONSTRAINT"]),
        [
            "CONSTRAINT other parts_2 parts_2_pkey",
            "CONSTRAINT other parts_2_a parts_2_a_pkey",
            "INDEX ATTACH other parts_2_a_pkey",
            "INDEX ATTACH other parts_2_a_text_idx",
            "INDEX other parts_2_a_text_idx",
            "INDEX other parts_2_text_idx",
            "TABLE ATTACH other parts_2_a",
            "TABLE DATA other parts_2_a",
            "TABLE other parts_2",
            "TABLE other parts_2_a",
        ]
    );
    assert_eq!(part.left_out[0], "TABLE ATTACH other parts_2: it needs TABLE app parts");
    assert_eq!(part.objects, BTreeSet::from(["2".to_owned()]), "the first archive has none of its rows");
    assert_eq!(contents.tables.len(), 2);
}

#[test]
fn names_mean_themselves() {
    for (schema, name, kinds) in [
        ("a", "b.c", 1),
        ("a.b", "c", 1),
        ("A.b \"C\"", "d.E", 1),
        ("public", "Größe", 1),
        ("public", "größe", 1),
    ] {
        let (part, contents) = made(&[], &[(schema, name)]);
        let tables: Vec<_> = contents.tables.iter().map(|table| (&*table.schema, &*table.name)).collect();
        assert_eq!(tables, [(schema, name)]);
        assert_eq!(restored(&part, &["TABLE DATA"]).len(), kinds);
    }
    let (part, _) = made(&["A.b \"C\""], &[]);
    assert_eq!(
        restored(&part, &["TABLE DATA", "INDEX"]),
        ["INDEX A.b \"C\" i.J", "TABLE DATA A.b \"C\" d.E"]
    );
    // Schema public is in every database; its rights are in the archive.
    let rights = |schemas: &[&str], tables: &[(&str, &str)]| {
        restored(&made(schemas, tables).0, &["ACL"]).contains(&"ACL  SCHEMA public".to_owned())
    };
    assert!(rights(&["public"], &[]) && rights(&[], &[("public", "Größe")]) && !rights(&["a"], &[]));
}
