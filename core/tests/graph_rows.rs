//! Row M1 of the requirements, and bad input of the feature graph.

use tapeline_core::graph::{Graph, GraphError, GroupId, GroupSet};
use tapeline_core::limits::NAME_BYTES_MAX;

#[test]
fn req_m1_an_unknown_group_a_cycle_and_a_diamond_are_told_apart() {
    let unknown = Graph::new(&[("signal", &["trend"])]).unwrap_err();
    assert_eq!(unknown, GraphError::Unknown { group: "signal".to_owned(), needs: "trend".to_owned() });
    assert_eq!(unknown.to_string(), "feature group \"signal\" needs \"trend\", which there is not");

    let itself = Graph::new(&[("a", &["b"]), ("b", &["b"])]).unwrap_err();
    assert_eq!(itself, GraphError::SelfEdge("b".to_owned()));

    // The way into a circle is no part of it, and it begins with the group registered first.
    let groups: &[(&str, &[&str])] = &[("in", &["c"]), ("b", &["a"]), ("a", &["c"]), ("c", &["b"])];
    let circle = Graph::new(groups).unwrap_err();
    assert_eq!(circle.to_string(), "feature groups need one another in a circle: b -> a -> c -> b");

    let diamond = Graph::new(&[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"]), ("d", &[])]).unwrap();
    let order: Vec<&str> = diamond.order().map(|group| diamond.name(group)).collect();
    assert_eq!(order, ["d", "b", "c", "a"]);
    let found: Vec<_> = diamond.diamonds().collect();
    assert_eq!(found.len(), 1);
    let names = [found[0].top, found[0].sides[0], found[0].sides[1], found[0].bottom].map(|group| diamond.name(group));
    assert_eq!(names, ["a", "b", "c", "d"]);
}

#[test]
fn the_order_does_not_depend_on_the_order_of_the_dependencies() {
    let one = Graph::new(&[("a", &["c", "b"]), ("b", &[]), ("c", &[])]).unwrap();
    let other = Graph::new(&[("a", &["b", "c"]), ("b", &[]), ("c", &[])]).unwrap();
    assert!(one.order().eq(other.order()));
    assert!(one.order().map(|group| one.name(group)).eq(["b", "c", "a"]));
}

#[test]
fn names_are_checked() {
    let refused = |groups: &[(&str, &[&str])]| Graph::new(groups).unwrap_err();
    let long = "x".repeat(NAME_BYTES_MAX + 1);
    assert_eq!(refused(&[("", &[])]), GraphError::Name(String::new()));
    assert_eq!(refused(&[(&long, &[])]), GraphError::Name(long.clone()));
    assert!(Graph::new(&[(&long[1..], &[])]).is_ok());
    assert_eq!(refused(&[("a", &[]), ("a", &[])]), GraphError::Duplicate("a".to_owned()));
    let twice = refused(&[("a", &["b", "b"]), ("b", &[])]);
    assert_eq!(twice, GraphError::Twice { group: "a".to_owned(), needs: "b".to_owned() });
}

#[test]
fn no_groups_are_a_graph_and_foreign_groups_have_nothing() {
    let none = Graph::new(&[]).unwrap();
    assert_eq!((none.len(), none.is_empty(), none.order().len(), none.diamonds().count()), (0, true, 0, 0));
    let foreign = GroupId(u16::MAX);
    assert_eq!((none.name(foreign), none.needs(foreign).len()), ("", 0));
    assert_eq!(GroupSet::EMPTY.with(foreign), GroupSet::EMPTY);
    assert!(!GroupSet::EMPTY.contains(foreign));
    let graph = Graph::new(&[("a", &[])]).unwrap();
    assert_eq!(graph.closure(GroupSet::EMPTY.with(GroupId(200))), GroupSet::EMPTY);
    assert_eq!(graph.set(&["a", "z"]), Err(GraphError::NoGroup("z".to_owned())));
    assert_eq!(graph.find("a"), Some(GroupId(0)));
    assert!(graph.bytes() > 0);
}
