//! The configuration: what is wrong with it, and what a reload does with it.

use grasptests::lab::{Lab, LabError, isolated};

use super::daemon::Place;

/// Standard output and standard error of `--check`, and its status.
fn checked(configuration: &str, objectives: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let lab = Lab::new().expect("a lab");
    let node = lab.node("a").expect("a node");
    let place = Place::new(configuration);
    objectives.iter().for_each(|(file, text)| place.objective(file, text));
    let output = place.run(&node, &["--check"]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(place.0.to_str().expect("UTF-8"), "");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn each_problem_has_its_file_its_line_and_what_is_permitted() -> Result<(), LabError> {
    isolated!();
    let (status, _, said) = checked(
        "[times]\nconnect_timeout = 'soon'\nspeed = 1\n[acp]\nkind = 'tls'\n[metrics]\nlisten = '0.0.0.0:1'\n[limit]\nx = 1",
        &[("a", "name = 'A'\nloop_count = 300"), ("b", "name = 'B'\n"), ("c", "name = 'B'\n")],
    );
    assert_eq!(status, Some(78), "{said}");
    for problem in [
        "/graspd.toml:2: times.connect_timeout must be whole milliseconds from 0 to 31536000000; it is \"soon\"",
        "/graspd.toml:3: there is no key times.speed; there are abandoned_after, connect_timeout, ",
        "/graspd.toml:5: acp.kind must be environment, layer2, interfaces, domain, fallback, quads or none; it is \"tls\"",
        "/graspd.toml:7: metrics.listen must be a loopback address with a port, or unix: and an absolute path; it is",
        "/graspd.toml:8: there is no key limit; there are access, acp, ",
        "/objectives.d/a.toml:2: loop_count must be a whole number from 1 to 255; it is 300",
        "/objectives.d/c.toml: the objective B is in /objectives.d/b.toml already",
    ] {
        assert!(said.lines().any(|line| line.starts_with(problem)), "{problem}\n{said}");
    }
    assert_eq!(said.lines().count(), 7, "{said}");
    let (status, good, said) = checked("", &[("b", "name = 'B'\n")]);
    assert_eq!((status, good.as_str(), said.as_str()), (Some(0), "The configuration is good.\n", ""));
    Ok(())
}

#[test]
fn an_acp_that_cannot_be_is_a_problem_of_the_configuration() -> Result<(), LabError> {
    isolated!();
    for (acp, problem) in [
        ("kind = 'interfaces'", "acp.interfaces must name the interfaces of the ACP"),
        ("kind = 'quads'", "acp.keyfile must be the path of a file with keys"),
        ("kind = 'quads'\nkeyfile = 'none.pem'", "acp.keyfile: "),
        ("kind = 'none'\nkeyfile = 'x'", "acp.interfaces goes with the kinds interfaces and fallback only"),
        ("kind = 'domain'", "acp.credentials must be the directory"),
        ("kind = 'fallback'", "acp.interfaces must name the interfaces of the ACP"),
        ("kind = 'fallback'\ninterfaces = ['acp0']", "acp.credentials must be the directory"),
        (
            "kind = 'layer2'\ncredentials = 'x'",
            "acp.credentials goes with the kinds interfaces, domain and fallback only",
        ),
        (
            "kind = 'domain'\nneighbours = true",
            "acp.neighbours goes with the kind interfaces and acp.credentials only",
        ),
    ] {
        let (status, _, said) = checked(&format!("[acp]\n{acp}"), &[]);
        assert!(status == Some(78) && said.contains(problem), "{problem}\n{said}");
    }
    Ok(())
}

#[test]
fn what_is_printed_is_a_configuration_with_the_same_effect() -> Result<(), LabError> {
    isolated!();
    let lab = Lab::new()?;
    let node = lab.node("a")?;
    let place = Place::new("[sizes]\nnesting = 7\n[[access]]\nusers = ['root']\neverything = true");
    let printed =
        |place: &Place| String::from_utf8(place.run(&node, &["--print-config"]).stdout).expect("UTF-8");
    let first = printed(&place);
    assert!(
        first.contains("\nnesting = 7\n") && first.contains("\nusers = [0]\neverything = true\n"),
        "{first}"
    );
    place.write("graspd.toml", &first);
    assert_eq!(printed(&place), first);
    Ok(())
}
