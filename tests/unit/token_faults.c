/* A PKCS #11 module: SoftHSM with the one fault that PENSTOCK_TOKEN_FAULT names. Each login is one more byte in the
 * file PENSTOCK_TOKEN_LOGINS. */
#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static CK_FUNCTION_LIST* real;
static CK_FUNCTION_LIST ours;

static int is(const char* fault) {
    const char* wanted = getenv("PENSTOCK_TOKEN_FAULT");
    return wanted != NULL && strcmp(wanted, fault) == 0;
}

static CK_RV token_info(CK_SLOT_ID slot, CK_TOKEN_INFO* info) {
    CK_RV rv = real->C_GetTokenInfo(slot, info);
    if (is("last_try"))
        info->flags |= CKF_USER_PIN_FINAL_TRY;
    if (is("locked"))
        info->flags |= CKF_USER_PIN_LOCKED;
    if (is("pin_pad"))
        info->flags |= CKF_PROTECTED_AUTHENTICATION_PATH;
    return rv;
}

static CK_RV login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_BYTE* pin, CK_ULONG size) {
    const char* path = getenv("PENSTOCK_TOKEN_LOGINS");
    FILE* file = path == NULL ? NULL : fopen(path, "a");
    if (file != NULL) {
        fputc('x', file);
        fclose(file);
    }
    if (is("locks_now"))
        return CKR_PIN_LOCKED;
    if (is("expired"))
        return CKR_PIN_EXPIRED;
    if (is("pin_pad")) {
        if (pin != NULL)
            return CKR_ARGUMENTS_BAD;
        return real->C_Login(session, user, (CK_BYTE*)"1234", 4);
    }
    return real->C_Login(session, user, pin, size);
}

static CK_RV sign_init(CK_SESSION_HANDLE session, CK_MECHANISM* mechanism, CK_OBJECT_HANDLE key) {
    return is("no_mechanism") ? CKR_MECHANISM_INVALID : real->C_SignInit(session, mechanism, key);
}

static CK_RV sign(CK_SESSION_HANDLE session, CK_BYTE* data, CK_ULONG size, CK_BYTE* signature,
                  CK_ULONG* signature_size) {
    CK_RV rv = real->C_Sign(session, data, size, signature, signature_size);
    if (is("talks"))
        puts("{\"ok\": \"says the module\"}"), fflush(stdout);
    if (is("crashes"))
        raise(SIGSEGV);
    if (is("exits"))
        _exit(0);
    if (is("wrong_signature"))
        signature[8] ^= 1;
    if (is("short_signature"))
        *signature_size -= 1;
    if (is("removed"))
        return CKR_DEVICE_REMOVED;
    return rv;
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST** list) {
    CK_C_GetFunctionList function = NULL;
    void* module = dlopen("/usr/lib/softhsm/libsofthsm2.so", RTLD_NOW | RTLD_LOCAL);
    if (module != NULL)
        function = (CK_C_GetFunctionList)dlsym(module, "C_GetFunctionList");
    if (function == NULL || function(&real) != CKR_OK)
        return CKR_GENERAL_ERROR;
    ours = *real;
    ours.C_GetFunctionList = C_GetFunctionList;
    ours.C_GetTokenInfo = token_info;
    ours.C_Login = login;
    ours.C_SignInit = sign_init;
    ours.C_Sign = sign;
    *list = &ours;
    return CKR_OK;
}
