/** Raw images: guest offsets are host offsets. */
@NullMarked
package dev.imago.raw;

import org.jspecify.annotations.NullMarked;
