// The fragment at gl_FragCoord shows the image at u_base + u_offset + u_step * gl_FragCoord.xy, in pixels.
uniform ivec2 u_base;
uniform vec2 u_offset;
uniform vec2 u_step;
uniform int u_layer; // 0 colour, 1 gradient magnitude, 2 gradient direction, 3 d/dx, 4 d/dy
layout(location = 0) out vec4 o_color;

void main() {
    vec4 color, by_x, by_y;
    eoren(u_base, u_offset + u_step * gl_FragCoord.xy, u_layer != 0, color, by_x, by_y);
    // White at half the intensity range per pixel.
    float magnitude = sqrt((dot(by_x, by_x) + dot(by_y, by_y)) / float(EOREN_CHANNELS)) / 0.5;
    if (u_layer == 1) {
        o_color = vec4(vec3(magnitude), 1.0);
    } else if (u_layer == 2) {
        // Hue: direction in which the sum of the colours increases; red to the right, green-yellow down.
        vec4 colors = vec4(1.0, float(EOREN_CHANNELS > 2), 1.0, 0.0); // without alpha
        float angle = atan(dot(by_y, colors), dot(by_x, colors)) / 6.283185307179586;
        vec3 hue = clamp(abs(fract(angle + vec3(0.0, 2.0, 1.0) / 3.0) * 6.0 - 3.0) - 1.0, 0.0, 1.0);
        o_color = vec4(hue * min(magnitude, 1.0), 1.0);
    } else if (u_layer == 3) {
        o_color = by_x;
    } else if (u_layer == 4) {
        o_color = by_y;
    } else if (EOREN_CHANNELS < 3) {
        o_color = vec4(color.xxx, EOREN_CHANNELS == 2 ? color.y : 1.0);
    } else {
        o_color = vec4(color.xyz, EOREN_CHANNELS == 4 ? color.w : 1.0);
    }
}
