//! Triggers of a database do not fire while it is loaded.

use greenlang_backup_api::reasons;
use greenlang_backup_api::report::Outcome;

use super::load::TARGET;
use super::world::Request;
use crate::fixture::Fixture;
use crate::servers::POSTGRES;

/// Writes down each statement that defines something, foreign keys to a partitioned table among them.
const WATCHED: &str = "
    CREATE TABLE told (tag text);
    CREATE FUNCTION tell() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.told VALUES (tg_tag); END $$;
    CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
    INSERT INTO parts VALUES (1), (2);
    CREATE TABLE refers (id int REFERENCES parts);
    INSERT INTO refers VALUES (1), (2);
    CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION tell();
    COMMENT ON EVENT TRIGGER watch IS 'of all that is made';";

#[test]
fn event_triggers_do_not_fire_for_what_is_loaded() {
    let name = "watched";
    POSTGRES.create_database(name);
    POSTGRES.sql(name, WATCHED);
    let fixture = Fixture::new("triggers", &[name]);
    fixture.run().expect(Outcome::Done, reasons::SUCCEEDED);
    for jobs in [1, 4] {
        let mut request = Request::new(&fixture, &TARGET, name, &format!("u-watched-{jobs}"));
        request.load().jobs = jobs;
        request.loaded();
        assert_eq!(TARGET.sql(&request.temporary(), "SELECT count(*) FROM told").trim(), "0");
        TARGET.sql(&request.temporary(), "CREATE TABLE made ()");
        assert_eq!(TARGET.sql(&request.temporary(), "SELECT tag FROM told").trim(), "CREATE TABLE");
        request.drop_database(&request.temporary(), None).expect(Outcome::Done, reasons::SUCCEEDED);
    }
}
