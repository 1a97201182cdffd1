// Bindings of the textures, for SPIR-V; define EOREN_BINDING before for others.
#ifndef EOREN_BINDING
#if __VERSION__ >= 310
#define EOREN_BINDING(number) layout(binding = number)
#else
#define EOREN_BINDING(number)
#endif
#endif