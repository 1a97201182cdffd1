// Sine and cosine to 1e-7. The built-in ones may be off by 5e-4, or more far from zero, which would move edges.
void eoren_sincos(vec4 p, out vec4 sine, out vec4 cosine) {
    vec4 turns = floor(p * 0.3183098861837907 + 0.5);
    vec4 r = (p - turns * 3.140625) - turns * 9.676535897932e-4;
    vec4 rr = r * r;
    vec4 sign = 1.0 - 2.0 * (turns - 2.0 * floor(0.5 * turns));
    sine = sign * r * (1.0 + rr * (-0.1666665822 + rr * (0.008333049715 + rr * (-1.980901725e-4
        + rr * 2.605107738e-6))));
    cosine = sign * (1.0 + rr * (-0.5 + rr * (0.04166663438 + rr * (-0.00138883607 + rr * (2.476010923e-5
        - rr * 2.605065674e-7)))));
}