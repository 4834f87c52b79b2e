"""The files that pass between steps: one module each, with its name, its writer and its reader.

A build is a directory in which every step runs. Its steps talk through these files alone, and no
other module names them. What stands in ``models/<model>/<device>`` is of an export, and has a
directory for each method; what stands in ``models/<model>/<target>/<method>`` is of a variant.

==========================  ======================  ==================  ===========================
file                        module                  written by          read by
==========================  ======================  ==================  ===========================
``plan.json``               ``build_plan``          plan                CMake
``<step>.json``             ``spec``                plan; tune, for     the step
                                                    its candidates
``<step>.time``             ``times``               the step            bundle
``headers/``                ``header_directory``    plan, compile       compile
``engine/engine.json``      ``stamps``              engine              Ninja
``engine/_engine.abi3.so``  ``engine_library``      engine              verify, tune, levels, bundle
--------------------------  ----------------------  ------------------  ---------------------------
*of an export*
``exported.json``           ``stamps``              export              Ninja; bundle, for
                                                                        development
``weights.safetensors``     ``export_weights``      export              compile, verify, tune,
                                                                        levels, bundle
``weights.json``            ``weights_index``       export              compile, verify, tune,
                                                                        levels, bundle
``files.json``              ``model_files``         export              bundle
``<method>/program.pt2``    ``program``             export              compile, verify
``<method>/call.json``      ``call_spec``           export              compile, verify, tune,
                                                                        levels, bundle
``<method>/facts.json``     ``facts``               export              compile, tune
``<method>/samples.pt``     ``samples``             export              verify, tune, levels
``<method>/reference.pt``   ``reference``           export              verify
``<method>/eager.py``,      ``eager_program``       export              verify, tune, levels,
``eager.json``                                                          bundle
--------------------------  ----------------------  ------------------  ---------------------------
*of a variant*
``tune/recipe.json``,       ``tuning``              tune                compile (``recipe.json``),
``tune/tuned.json``                                                     bundle (``tuned.json``)
``library.so``,             ``library``             compile             verify, tune, levels, bundle
``library.json``
``weights.safetensors``     ``library``             compile             verify, tune, levels, bundle
``compiled.json``           ``build_record``        compile             verify, tune, levels, bundle
``levels.json``             ``tuning``              levels              bundle
``verified.json``           ``verification``        verify              bundle, tune
``selftest.safetensors``    ``verification``        verify              bundle
--------------------------  ----------------------  ------------------  ---------------------------
``bundled.json``            ``stamps``              bundle              Ninja
==========================  ======================  ==================  ===========================

Where verify, tune, levels and bundle read the same, they do it through ``steps/package``. Tune
reads ``compiled.json`` of its own candidates, and compile reads it again after a hit in the cache.
``weights_file`` is the format of every ``weights.safetensors``.

The cache holds ``library.so``, ``library.json``, ``weights.safetensors`` and ``compiled.json`` of a
variant, and ``_engine.abi3.so``; besides these what passes between no steps: libraries by their
code (``compile/library_cache``), objects of the functions of stand-alone libraries
(``compile/standalone``), the library of a C interface (``package/c_interface``), and stubs of glibc
(``older_glibc``). Each has a ``KIND``.
"""
