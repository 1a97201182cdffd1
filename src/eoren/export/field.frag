// A picture as a function of the plane: colour and exact derivatives of a mosaic of small sine networks.
// Written by eoren; #version and the constants in capitals stand above.
//
// eoren_tiles: the nodes of a tree of cuts, (axis, pixel edge, upper child, -), axis -1 for a tile (-1, tile, -, -);
// the lower child is the next node. Then three texels a tile: (middle x, middle y, half side, -), alpha, beta.
// eoren_networks: per tile, layer and four outputs: their biases, then a texel for every input's weights to them.
precision highp float;
precision highp int;

uniform highp sampler2D eoren_tiles;
uniform highp sampler2D eoren_networks;

vec4 eoren_texel(highp sampler2D data, int index) {
    return texelFetch(data, ivec2(index & (TEXTURE_WIDTH - 1), index >> TEXTURE_SHIFT), 0);
}

// Sine and cosine to 1e-7: those of GPUs may be wrong by 5e-4, more far from zero, and edges would move.
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

// The network of one tile at local coordinates (u, v): value, d/du and d/dv.
void eoren_network(int tile, vec2 uv, bool slopes, out vec4 value, out vec4 by_u, out vec4 by_v) {
    vec4 z[GROUPS], zu[GROUPS], zv[GROUPS], p[GROUPS], pu[GROUPS], pv[GROUPS];
    int at = tile * TEXELS_PER_NETWORK;
    for (int g = 0; g < GROUPS; g++) {
        vec4 bias = eoren_texel(eoren_networks, at++);
        pu[g] = eoren_texel(eoren_networks, at++);
        pv[g] = eoren_texel(eoren_networks, at++);
        p[g] = bias + uv.x * pu[g] + uv.y * pv[g];
    }
    for (int layer = 0; layer < DEPTH; layer++) {
        for (int g = 0; g < GROUPS; g++) {
            vec4 cosine;
            eoren_sincos(OMEGAS[layer] * p[g], z[g], cosine);
            zu[g] = OMEGAS[layer] * cosine * pu[g];
            zv[g] = OMEGAS[layer] * cosine * pv[g];
        }
        int groups = layer == DEPTH - 1 ? 1 : GROUPS;
        for (int g = 0; g < groups; g++) {
            vec4 sum = eoren_texel(eoren_networks, at++), sum_u = vec4(0.0), sum_v = vec4(0.0);
            for (int k = 0; k < GROUPS; k++) {
                vec4 a = eoren_texel(eoren_networks, at), b = eoren_texel(eoren_networks, at + 1);
                vec4 c = eoren_texel(eoren_networks, at + 2), d = eoren_texel(eoren_networks, at + 3);
                at += 4;
                sum += z[k].x * a + z[k].y * b + z[k].z * c + z[k].w * d;
                if (slopes) {
                    sum_u += zu[k].x * a + zu[k].y * b + zu[k].z * c + zu[k].w * d;
                    sum_v += zv[k].x * a + zv[k].y * b + zv[k].z * c + zv[k].w * d;
                }
            }
            p[g] = sum;
            pu[g] = sum_u;
            pv[g] = sum_v;
        }
    }
    value = p[0];
    by_u = pu[0];
    by_v = pv[0];
}

// Colour and, if wanted, its derivatives per pixel, at base + offset in pixels from the upper left corner; in two
// parts so that zooms of any depth stay exact. Unused channels are zero.
void eoren(ivec2 base, vec2 offset, bool slopes, out vec4 color, out vec4 by_x, out vec4 by_y) {
    color = vec4(0.0);
    by_x = vec4(0.0);
    by_y = vec4(0.0);
    // Nodes to be visited: the weight of what lies below them is x times y; so come (x, y, dx, dy).
    int nodes[LEVELS];
    vec4 weights[LEVELS];
    nodes[0] = 0;
    weights[0] = vec4(1.0, 1.0, 0.0, 0.0);
    int waiting = 1;
    // No node comes twice; the count ends the loop where the textures are missing, which read as cuts without end.
    for (int visited = 0; waiting > 0 && visited < NODES; visited++) {
        waiting--;
        int node = nodes[waiting];
        vec4 weight = weights[waiting];
        vec4 cut = eoren_texel(eoren_tiles, node);
        if (cut.x < 0.0) {
            int tile = int(cut.y), record = NODES + 3 * tile;
            vec4 place = eoren_texel(eoren_tiles, record);
            vec4 alpha = eoren_texel(eoren_tiles, record + 1), beta = eoren_texel(eoren_tiles, record + 2);
            vec4 g, g_u, g_v;
            eoren_network(tile, ((vec2(base) - place.xy) + offset) / place.z, slopes, g, g_u, g_v);
            vec4 phi = alpha * g + beta;
            color += weight.x * weight.y * phi;
            by_x += weight.x * weight.y * alpha * g_u / place.z + weight.z * weight.y * phi;
            by_y += weight.x * weight.y * alpha * g_v / place.z + weight.x * weight.w * phi;
            continue;
        }
        bool across_x = cut.x < 0.5;
        float t = (across_x ? (float(base.x) - cut.y) + offset.x : (float(base.y) - cut.y) + offset.y) / HALO;
        float s = clamp(0.5 * t + 0.5, 0.0, 1.0);
        float rise = s * s * s * (s * (6.0 * s - 15.0) + 10.0);
        float slope = 15.0 * (s * (s - 1.0)) * (s * (s - 1.0)) / HALO;
        if (t > -1.0) {
            nodes[waiting] = int(cut.z);
            weights[waiting++] = across_x
                ? vec4(weight.x * rise, weight.y, weight.z * rise + weight.x * slope, weight.w)
                : vec4(weight.x, weight.y * rise, weight.z, weight.w * rise + weight.y * slope);
        }
        if (t < 1.0) {
            nodes[waiting] = node + 1;
            weights[waiting++] = across_x
                ? vec4(weight.x * (1.0 - rise), weight.y, weight.z * (1.0 - rise) - weight.x * slope, weight.w)
                : vec4(weight.x, weight.y * (1.0 - rise), weight.z, weight.w * (1.0 - rise) - weight.y * slope);
        }
    }
}

// What the canvas shows: source pixels u_base + u_offset + u_step * gl_FragCoord.xy.
uniform ivec2 u_base;
uniform vec2 u_offset;
uniform vec2 u_step;
uniform int u_layer; // 0 colour, 1 gradient magnitude, 2 gradient direction, 3 d/dx, 4 d/dy
out vec4 o_color;

void main() {
    vec4 color, by_x, by_y;
    eoren(u_base, u_offset + u_step * gl_FragCoord.xy, u_layer != 0, color, by_x, by_y);
    // White is half the intensity range per pixel.
    float magnitude = sqrt((dot(by_x, by_x) + dot(by_y, by_y)) / float(CHANNELS)) / 0.5;
    if (u_layer == 1) {
        o_color = vec4(vec3(magnitude), 1.0);
    } else if (u_layer == 2) {
        // Hue by the direction in which the sum of the channels rises: red to the right, then yellow downwards.
        float angle = atan(dot(by_y, vec4(1.0)), dot(by_x, vec4(1.0))) / 6.283185307179586;
        vec3 hue = clamp(abs(fract(angle + vec3(0.0, 2.0, 1.0) / 3.0) * 6.0 - 3.0) - 1.0, 0.0, 1.0);
        o_color = vec4(hue * min(magnitude, 1.0), 1.0);
    } else if (u_layer == 3) {
        o_color = by_x;
    } else if (u_layer == 4) {
        o_color = by_y;
    } else if (CHANNELS < 3) {
        o_color = vec4(color.xxx, CHANNELS == 2 ? color.y : 1.0);
    } else {
        o_color = vec4(color.xyz, CHANNELS == 4 ? color.w : 1.0);
    }
}
