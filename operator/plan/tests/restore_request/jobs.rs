//! The Jobs of a request: names, limits, Secrets, and what they are asked.

use std::collections::BTreeSet;

use greenlang_backup_api::restore::{PlanSource, RestoreAction, RestoreTask};
use greenlang_backup_api::task::{TASK_ENV, Task};
use greenlang_backup_api::{conditions, labels};
use greenlang_backup_plan::restore_request::validate;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Value, json};

use super::restore_world::{DATABASE, Fate, OLD, World, request};
use super::{ways, world};

fn made(way: &str) -> Vec<Job> {
    let (way, change) = ways().into_iter().find(|(name, _)| *name == way).unwrap();
    let mut world = world(way, &change);
    world.run_to_end();
    world.made
}

fn action(job: &Job) -> &str {
    &job.metadata.labels.as_ref().unwrap()[labels::ACTION]
}

fn pod(job: &Job) -> &PodSpec {
    job.spec.as_ref().unwrap().template.spec.as_ref().unwrap()
}

/// What a Job is asked to do.
pub fn task(job: &Job) -> RestoreTask {
    let env = pod(job).containers[0].env.as_ref().unwrap();
    let value = env.iter().find(|variable| variable.name == TASK_ENV).unwrap().value.as_ref().unwrap();
    match Task::decode(value).unwrap() {
        Task::Restore(task) => task,
        task => panic!("{task:?}"),
    }
}

fn secrets(job: &Job) -> BTreeSet<String> {
    let volumes = pod(job).volumes.iter().flatten();
    volumes.filter_map(|volume| volume.secret.as_ref()?.secret_name.clone()).collect()
}

#[test]
fn each_step_is_a_job_of_its_own_with_its_limits() {
    let jobs = made("swap with checks");
    let kinds: Vec<&str> = jobs.iter().map(action).collect();
    assert_eq!(kinds, ["plan", "load", "switch", "check", "check-job"]);
    let deadlines: Vec<i64> = jobs.iter().map(|job| pod(job).active_deadline_seconds.unwrap()).collect();
    assert_eq!(deadlines, [600, 604_800, 600, 600, 600]);
    let mut names = BTreeSet::new();
    for job in &jobs {
        let labels = job.metadata.labels.as_ref().unwrap();
        assert_eq!(
            (&labels[labels::RESTORE], &labels[labels::TASK]),
            (&"back".to_owned(), &"restore".to_owned())
        );
        assert_eq!(labels[labels::ATTEMPT], "1");
        assert!(!labels.contains_key(labels::POLICY), "the policy would take it for its own");
        let owner = &job.metadata.owner_references.as_ref().unwrap()[0];
        assert_eq!((owner.kind.as_str(), owner.uid.as_str()), ("RestoreRequest", "u-1"));
        let limits = pod(job).containers[0].resources.as_ref().unwrap().limits.as_ref().unwrap();
        assert_eq!(limits["memory"].0, "256Mi");
        assert_eq!(job.spec.as_ref().unwrap().backoff_limit, Some(0));
        assert!(names.insert(job.metadata.name.clone().unwrap()));
    }
}

#[test]
fn another_attempt_and_another_request_of_the_name_have_jobs_of_their_own() {
    let mut again = World::new(&json!({}));
    again.fates = vec![("load", Fate::FailsForNow)];
    again.run_to_end();
    let mut other = World::new(&json!({"metadata": {"uid": "u-2"}}));
    other.run_to_end();
    let names =
        |jobs: &[Job]| jobs.iter().map(|job| job.metadata.name.clone().unwrap()).collect::<BTreeSet<_>>();
    assert_eq!(names(&again.made).len(), 4, "two attempts to load");
    assert!(names(&again.made).is_disjoint(&names(&other.made)));
}

#[test]
fn keys_are_mounted_only_where_a_backup_is_read() {
    for job in made("swap") {
        let reads = ["plan", "load"].contains(&action(&job));
        assert_eq!(secrets(&job).contains("identity"), reads, "{}", action(&job));
        assert!(secrets(&job).contains("admin"), "the request's user, not the policy's");
        assert!(!secrets(&job).contains("db"));
        assert_eq!(pod(&job).automount_service_account_token, Some(false));
    }
}

#[test]
fn what_jobs_are_asked_names_databases_by_their_oids() {
    let tasks: Vec<RestoreTask> = made("swap").iter().map(task).collect();
    let RestoreAction::Plan(plan) = &tasks[0].action else { panic!("{tasks:?}") };
    assert!(plan.claim && plan.temporary.starts_with("greenlang_restore_"));
    let RestoreAction::Load(load) = &tasks[1].action else { panic!("{tasks:?}") };
    assert_eq!((&load.temporary, &load.drop_first), (&plan.temporary, &None));
    let RestoreAction::Switch(switch) = &tasks[2].action else { panic!("{tasks:?}") };
    assert_eq!(switch.incoming.name, plan.temporary);
    let outgoing = switch.outgoing.as_ref().unwrap();
    assert_eq!((outgoing.oid, &outgoing.name), (OLD, &plan.previous));

    let replace: Vec<RestoreTask> = made("replace").iter().map(task).collect();
    let RestoreAction::Load(load) = &replace[1].action else { panic!("{replace:?}") };
    let first = load.drop_first.as_ref().unwrap();
    assert_eq!((first.name.as_str(), first.oid), (DATABASE, OLD));
    let RestoreAction::Switch(switch) = &replace[2].action else { panic!("{replace:?}") };
    assert!(switch.outgoing.is_none());

    let undo: Vec<RestoreTask> = made("undo").iter().map(task).collect();
    let RestoreAction::Switch(switch) = &undo[1].action else { panic!("{undo:?}") };
    assert_eq!((switch.incoming.oid, switch.undo_of.as_deref()), (300, Some("before")));
}

/// What an undo would bring back has the name that status calls temporary; it must never be dropped.
#[test]
fn an_undo_that_fails_drops_nothing() {
    let (way, change) = ways().into_iter().find(|(way, _)| *way == "undo").unwrap();
    let mut world = world(way, &change);
    world.fates = vec![("switch", Fate::Fails)];
    world.run_to_end();
    let RestoreAction::Drop(drop) = task(world.made.last().unwrap()).action else { panic!("no drop") };
    assert!(drop.name.starts_with("greenlang_restore_") && drop.oid.is_none() && drop.rolls_back);
    assert!(drop.not_before.is_none(), "what a failed request has made goes at once");
    assert!(world.databases.contains_key(&300));
}

#[test]
fn a_program_of_the_users_runs_without_rights_and_with_its_own_variables() {
    let env = json!([{"name": "A", "value": "b"}, {"name": "C", "secretKeyRef": {"name": "s", "key": "k"}}]);
    let checks = json!({"jobs": [{"name": "smoke", "image": "smoke:1", "command": ["/smoke", "-v"], "env": env, "timeoutSeconds": 42}]});
    let mut world = World::new(&json!({"spec": {"checks": checks}}));
    world.run_to_end();
    let job = world.made.last().unwrap();
    let pod: Value = serde_json::to_value(pod(job)).unwrap();
    let container = &pod["containers"][0];
    assert_eq!((&container["image"], &container["command"]), (&json!("smoke:1"), &json!(["/smoke", "-v"])));
    assert_eq!(container["env"][1]["valueFrom"]["secretKeyRef"], json!({"name": "s", "key": "k"}));
    assert_eq!(container["env"].as_array().unwrap().len(), 2, "no Task of ours");
    assert_eq!(
        (&pod["activeDeadlineSeconds"], &pod["automountServiceAccountToken"]),
        (&json!(42), &json!(false))
    );
    assert_eq!(pod["securityContext"]["runAsNonRoot"], json!(true));
    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], json!(false));
    assert_eq!(pod["volumes"], json!([]));
}

#[test]
fn plan_and_load_are_asked_for_the_same_part() {
    let names = |number: usize| format!("{number:03}{}", "\"".repeat(60));
    let schemas: Vec<String> = (0..100).map(names).collect();
    let tables: Vec<Value> =
        (0..100).map(|number| json!({"schema": names(0), "name": names(number)})).collect();
    let include = json!({"schemas": schemas, "tables": tables});
    let database = json!({"strategy": "NewDatabase", "target": {"name": "look"}, "include": include});
    let mut world = World::new(&json!({"spec": {"confirm": null, "database": database}}));
    world.run_to_end();
    let asked = |kind: &str| {
        let job = world.made.iter().find(|job| action(job) == kind).unwrap();
        match task(job).action {
            RestoreAction::Plan(plan) => plan.include,
            RestoreAction::Load(load) => load.include,
            other => panic!("{other:?}"),
        }
    };
    let (planned, loaded) = (asked("plan").unwrap(), asked("load").unwrap());
    assert_eq!(planned, loaded);
    assert_eq!((planned.schemas, planned.tables.len()), (schemas, 100));
    assert_eq!(planned.tables[99].name, names(99));
    let status = world.status();
    let restored =
        status.conditions.iter().find(|condition| condition.type_ == conditions::RESTORED).unwrap();
    assert!(restored.message.contains("7 entries of the backup"), "{}", restored.message);
}

#[test]
fn the_newest_backup_is_one_that_was_made_under_its_name() {
    let latest = json!({"backup": null, "latest": {"backup": "database"}});
    let request = request(&json!({"spec": {"source": latest}}));
    let expected = PlanSource::Latest {
        path: "database".into(),
        backup: Some("database".into()),
        schedule: None,
        database: None,
    };
    let policy = World::new(&json!({})).policy;
    assert_eq!(validate(&request, policy.as_ref()).unwrap().source, expected);
}
