"""Errors inside parallel loops of generated kernels."""

from __future__ import annotations

import pytest

from aotbuild.steps.compile.kernel_errors import with_caught_errors

CHECK = 'AOTI_TORCH_CHECK((0 <= tmp0) & (tmp0 < 10L), "index out of bounds: 0 <= tmp0 < 10L");'


def kernel(name: str, body: str) -> str:
    return f"""\
extern "C"  void  {name}(const int64_t* in_ptr0,
                       float* out_ptr0)
{{
    #pragma omp parallel
    {{
        int tid = omp_get_thread_num();
        {{
{body}
        }}
    }}
}}
"""


def loop(pragma: str, inner: str) -> str:
    return f"""\
            {pragma}
            for(int64_t x0=0L; x0<static_cast<int64_t>(4L); x0+=1L)
            {{
                #pragma GCC ivdep
                for(int64_t x1=0L; x1<static_cast<int64_t>(5L); x1+=1L)
                {{
                    {{
                        {inner}
                    }}
                }}
            }}"""


def caught(code: str) -> list[str]:
    """The code without blanks, line by line, from the first loop on."""
    lines = [line.strip() for line in with_caught_errors(code).splitlines()]
    return lines[next(i for i, line in enumerate(lines) if line.startswith("#pragma omp for")) :]


@pytest.mark.parametrize("inner", ["out_ptr0[x1] = 1;", ""])
def test_what_cannot_throw_stays_as_it_is(inner: str) -> None:
    code = "#include <x.h>\n" + kernel("first", loop("#pragma omp for", inner))
    assert with_caught_errors(code) == code


def test_code_without_threads_stays_as_it_is() -> None:
    code = f'extern "C"  void  first()\n{{\n    {CHECK}\n}}\n'
    assert with_caught_errors(code) == code


def test_an_iteration_of_a_loop_catches_what_it_throws() -> None:
    lines = caught(kernel("first", loop("#pragma omp for", CHECK)))
    assert lines[2] == "{ try {"
    assert [line[:13] for line in lines[-5:]] == ["} catch (...)", "}", "}", "if (aot_faile", "}"]
    assert lines[-5].endswith("} }")


def test_of_collapsed_loops_it_is_the_innermost_that_catches() -> None:
    lines = caught(kernel("first", loop("#pragma omp for collapse(2)", CHECK)))
    assert lines[:6] == [
        "#pragma omp for collapse(2)",
        "for(int64_t x0=0L; x0<static_cast<int64_t>(4L); x0+=1L)",
        "{",
        "#pragma GCC ivdep",
        "for(int64_t x1=0L; x1<static_cast<int64_t>(5L); x1+=1L)",
        "{ try {",
    ]


def test_every_kernel_is_looked_at_for_itself() -> None:
    throwing = kernel("first", loop("#pragma omp for", CHECK))
    other = kernel("second", loop("#pragma omp for", "out_ptr0[x1] = 1;"))
    both = with_caught_errors("#include <x.h>\n" + throwing + other)
    assert both == "#include <x.h>\n" + with_caught_errors(throwing) + other
    assert both.count("rethrow_exception") == 1
    assert both.count("{") == both.count("}")


def test_what_one_thread_runs_is_caught_too() -> None:
    alone = (
        f"            #pragma omp single\n            {{\n                {CHECK}\n            }}"
    )
    lines = [line.strip() for line in with_caught_errors(kernel("first", alone)).splitlines()]
    at = lines.index("#pragma omp single")
    assert lines[at + 1] == "{ try {"
    assert lines[at + 3].startswith("} catch (...)")


@pytest.mark.parametrize(
    "body",
    [
        f"            {CHECK}",  # in no loop
        loop("#pragma omp for schedule(dynamic)", CHECK),  # in one of another form
        loop("#pragma omp for", "out_ptr0[x1] = 1;") + f"\n            {CHECK}",
    ],
)
def test_what_is_thrown_elsewhere_in_a_parallel_part_lets_one_thread_do_all(body: str) -> None:
    changed = with_caught_errors(kernel("first", body))
    lines = kernel("first", body).splitlines(keepends=True)
    assert changed == "".join(line for line in lines if "#pragma omp" not in line)
    assert CHECK in changed


def test_what_is_thrown_outside_of_parallel_parts_needs_no_catching() -> None:
    code = kernel("first", loop("#pragma omp for", "out_ptr0[x1] = 1;"))
    before = code.replace("    #pragma omp parallel\n", f"    {CHECK}\n    #pragma omp parallel\n")
    assert "#pragma omp parallel" in with_caught_errors(before)


def test_a_parallel_part_may_have_a_condition() -> None:
    plain = kernel("first", loop("#pragma omp for", CHECK))
    asking = plain.replace("omp parallel", "omp parallel if(4L*ks0 >= 65536)")
    changed = with_caught_errors(asking)
    assert "} catch (...)" in changed
    assert changed == with_caught_errors(plain).replace(
        "omp parallel", "omp parallel if(4L*ks0 >= 65536)"
    )
