//! The bugs of other projects that this one is tested against: each is a test that bears its name.

use super::{none, texts};

/// Projects and numbers of their issues, as the names of tests have them.
const BUGS: &[(&str, &[&str])] = &[
    (
        "rings",
        &[
            "rtrb_185",
            "ringbuf_60",
            "ringbuffer_150",
            "heapless_207",
            "heapless_144",
            "heapless_5",
            "iceoryx2_87",
            "iceoryx2_119",
            "lilos_21",
            "glommio_700",
            "crossbeam_1187",
            "crossbeam_523",
            "crossbeam_533",
            "crossbeam_539",
            "rustsec_2021_0093",
            "agrona_22",
            "agrona_160",
            "camunda_770",
            "lockfree_142",
            "disruptor_286",
            "disruptor_50",
            "bcast_2",
        ],
    ),
    (
        "timing wheels",
        &[
            "tokio_2473",
            "tokio_684",
            "tokio_2789",
            "tokio_8334",
            "tikv_12043",
            "tokio_3270",
            "rpc_perf_180",
            "netty_1959",
            "netty_7765",
            "netty_14959",
            "netty_5647",
            "netty_12888",
        ],
    ),
    (
        "heaps",
        &[
            "priority_queue_28",
            "keyed_priority_queue_12",
            "priority_queue_1",
            "priority_queue_42",
            "priority_queue_86",
            "rust_25842",
            "boost_heap_49",
        ],
    ),
    (
        "dedup, dead letters, breakers, limiters",
        &[
            "nats_3272",
            "nats_7302",
            "iggy_3905",
            "prefect_16051",
            "spring_cloud_stream_627",
            "opossum_119",
            "opossum_276",
            "kubeflow_mcp_server_222",
        ],
    ),
    ("feeds", &["helix_38", "nassau_11"]),
];

/// Whether the name of a test has that bug in it, as whole words: `netty_195` is not in `netty_1959_no_drift`.
fn names(test: &str, bug: &str) -> bool {
    format!("_{test}_").contains(&format!("_{bug}_"))
}

#[test]
fn every_known_bug_of_a_peer_is_a_test_under_its_name() {
    let texts = texts();
    let peers = texts.iter().filter(|text| text.path.starts_with("core/tests/") && text.path.ends_with("_peers.rs"));
    let tests: Vec<&str> = peers
        .flat_map(|text| text.text.split("#[test]").skip(1))
        .filter_map(|rest| rest.split("fn ").nth(1)?.split('(').next())
        .collect();
    assert!(tests.len() > 100, "{} tests", tests.len());
    let bugs = BUGS.iter().flat_map(|(of, bugs)| bugs.iter().map(move |bug| (of, bug)));
    let missing = bugs.filter(|(_, bug)| !tests.iter().any(|test| names(test, bug)));
    none("bugs without a test", missing.map(|(of, bug)| format!("{of}: {bug}")).collect());
    assert!(names("netty_1959_no_drift", "netty_1959") && !names("netty_1959_no_drift", "netty_195"));
}
