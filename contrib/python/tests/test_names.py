"""graspy's names are there. With GRASPY_DIR they are compared with those of the checkout."""

import ast
import os
import pathlib

import pytest

GRASPY = os.environ.get("GRASPY_DIR")

# Read by ASAs outside of graspy's repository, or by none of those that are in it any more.
PRIVATE = """
    _prng _unspec_address _obj_registry _flood_cache _my_address _relay_needed _initialise_grasp _multi_asas
    _session_locator _test_divert _make_badmess _make_invalid _ll_zone_ids _parse_msg _mess_check _discovery_cache
    _asa_registry _session_id_cache _session_handle _secure _crypto _version _silent _listen_self _skip_dialogue
""".split()


def test_private_names_that_are_used_are_there(grasp):
    for name in PRIVATE:
        assert hasattr(grasp, name), name
        assert name in dir(grasp)


@pytest.mark.skipif(not GRASPY, reason="GRASPY_DIR does not say where graspy is")
@pytest.mark.parametrize("name", ["grasp", "graspi"])
def test_all_public_names_of_graspy_are_here(grasp, name):
    import graspi

    ours = {"grasp": grasp, "graspi": graspi}[name]
    tree = ast.parse(pathlib.Path(GRASPY, name + ".py").read_text())
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name != "init":
            if node.name.startswith("_"):
                continue
            theirs = [argument.arg for argument in node.args.args] if isinstance(node, ast.FunctionDef) else None
            found = getattr(ours, node.name)
            if theirs is not None and node.name not in ("discover",):
                import inspect

                has = inspect.signature(found).parameters
                assert theirs == [one for one in has if has[one].kind == has[one].POSITIONAL_OR_KEYWORD], node.name
                defaults = [ast.literal_eval(default) for default in node.args.defaults]
                given = [has[one].default for one in has if has[one].default is not inspect.Parameter.empty]
                assert defaults == [one for one in given if one is not False or False in defaults][: len(defaults)]
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name) and not target.id.startswith("_"):
                    assert hasattr(ours, target.id), target.id
    if name == "grasp":
        namespace = {}
        exec(compile(ast.Module([node for node in tree.body if _is_table(node)], []), "tables", "exec"), namespace)
        assert vars(namespace["errors"]) == vars(grasp.errors)
        assert namespace["etext"] == grasp.etext


def _is_table(node):
    """The classes and lists of error numbers and texts."""
    if isinstance(node, ast.ClassDef):
        return node.name == "_error_codes"
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in ("errors", "etext")
