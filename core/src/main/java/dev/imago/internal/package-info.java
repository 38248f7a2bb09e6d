/** Buffers and foreign functions shared by the rooms of this module. Not exported. */
@NullMarked
package dev.imago.internal;

import org.jspecify.annotations.NullMarked;
